"""The networks' weights: which there are, where they lie, what input they take."""
