"""Objects as users write them, each read once into a frozen value, with what is wrong in it.

Admission, `analyze`, the builders and the conditions in an object's status all read the same values and problems.
Imports nothing of mesh/.
"""
