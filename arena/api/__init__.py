"""REST resources of the arena. Before a battle's close none of them says who answers in it."""
