"""What runs a network: a folder for each engine, the only door to its library, and the table of them all.

spec        what an engine is, as a value
table       the engines
protocols   what an engine is opened with, and what it then can do
arrays      arrays that networks take and give
"""
