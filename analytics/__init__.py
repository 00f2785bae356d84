"""Pure functions of the VBQ node: images in, numbers out; counts in, ratios out; table in, model out.

Nothing here opens a socket or a file, speaks SQL or reads the clock.
"""
