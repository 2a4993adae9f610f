"""Bounds of scalar functions, derived from their formulas.

facts       where a formula turns, bends, has kinks and jumps; found with certainty by signs, exp_polynomials and
            enclosures
shape       the same as numbers and tensor code (code)
lines       interval and lines from a shape, with slopes and touching points from tables (tables, inverse)
activation  an operator of all that
proof       the claims of an operator, checked by interval arithmetic
"""
