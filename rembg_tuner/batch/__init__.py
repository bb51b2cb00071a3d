"""Many pictures: what is done with which, and where it goes."""
