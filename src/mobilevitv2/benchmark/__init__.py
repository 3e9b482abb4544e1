"""How fast a model is here, in every runtime that is installed."""
