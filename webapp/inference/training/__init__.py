"""FlexOlmo's recipe (Shi et al., arXiv 2507.07024): owners train experts alone, only weights are joined.

model      a small dense or mixture-of-experts OLMo 2 for training
data       documents to token streams, split into training and held-out documents
recipe     dense public model; one owner's expert; merging; router tuning
measure    loss per domain × mask, routing shares
export     a transformers FlexOlmo checkpoint with its card
demo       all of it in one command for the demonstration's model
"""
