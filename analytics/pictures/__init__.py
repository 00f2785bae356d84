"""Figures, as PNG, as SVG and in words."""
