"""Cut out many pictures: their list, the path of each cut-out, and a summary."""
