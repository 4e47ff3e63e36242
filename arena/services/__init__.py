"""What changes the arena. Each service owns its transaction and writes its log entry inside it."""
