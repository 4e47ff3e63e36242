"""The arena's pages. They parse, call one service or query, and render."""
