"""From images to results: the predictor, its backends, and the files that results go to."""
