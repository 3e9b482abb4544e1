"""Pages, charts and pictures about data sets, runs and evaluations."""
