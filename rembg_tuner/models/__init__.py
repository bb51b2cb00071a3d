"""The models: the catalogue, their files, and the input that they take."""
