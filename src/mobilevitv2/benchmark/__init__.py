"""How fast a model is here, in every installed runtime."""
