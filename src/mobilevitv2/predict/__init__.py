"""From images to results: the predictor, its backends, and where results go."""
