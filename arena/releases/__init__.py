"""What a data release holds: records of closed votes in four published schemas, with a card and a README."""
