"""Files on disk: who made them, and how new ones take the place of old ones."""
