"""A built-in world of furnished rooms in which twenty vision tasks have exact answers."""
