"""What the arena shows of itself: everything here is told from log entries below a tree size.

Who holds the export of that tree computes the same numbers (docs/arena-transparency.md).
"""
