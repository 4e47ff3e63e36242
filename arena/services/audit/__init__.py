"""The arena held against the Agentic Benchmark Checklist, and what it cannot prove.

Zhu et al., Establishing Best Practices for Building Rigorous Agentic Benchmarks (arXiv 2507.02825).
Items have the paper's numbers: T task validity, O outcome validity, R reporting. Where code can tell,
a check looks at what the database and the log hold now; where it cannot, the audit says so and why.
"""
