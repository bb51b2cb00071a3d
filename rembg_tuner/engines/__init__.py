"""The engines: a module or package for each, the only importer of its library, and their table.

spec          the description of an engine, as a value
table         the engines
protocols     the request that opens an engine, and the engine's methods
plain_graphs  graphs for the converters of other engines
scripts       the engines' parts of exported Python scripts
"""
