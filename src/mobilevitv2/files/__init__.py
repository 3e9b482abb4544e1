"""Files: where they are found, how they are written, and how new ones replace old ones."""
