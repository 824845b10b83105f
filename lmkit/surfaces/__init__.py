"""Surfaces J(θ) over two weights, and the paths that gradient descent takes on them.

    surface (NumPy) ──> path: NumPy, or a backend's own optimizer ──> chart, page
            └─────────> plain data ──> descent.js, which computes the same path in the page

A surface is the mean or the sum of squared residuals, or a grid of losses; the page receives its coefficients.
"""
