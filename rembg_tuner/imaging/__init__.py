"""Pixels in and out, moved by libvips in strips; the only door to pyvips.

libvips         set up for one picture at a time and little memory
formats         which pictures are taken, told by their content, and what each costs
source          open a picture: limits, colours, orientation, scaling down
network_input   the small picture as the network's input
matte           the network's output as a full-size mask, computed row by row as it is read
compose         picture and mask to a cut-out on disk, and previews
"""
