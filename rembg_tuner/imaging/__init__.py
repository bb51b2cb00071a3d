"""Read and write pictures with libvips, in strips; the only package that imports pyvips."""
