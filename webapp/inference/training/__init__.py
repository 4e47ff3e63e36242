"""FlexOlmo's recipe (Shi et al., arXiv 2507.07024): owners train experts alone, only weights are joined.

stages        what each party runs on its own machine, with folders between them
recipe        dense public model; one owner's expert; merging; router tuning
loop          the training loop: budget, schedule, state to go on from
model         a small dense or mixture-of-experts OLMo 2 for training
load, export  checkpoint folders to models and back
contribution  what an owner sends: weights, router rows, a data card
data          documents to token streams, split into training and held-out documents
measure       loss per domain × mask, routing shares
demo          all of it in one command for the demonstration's model
"""
