"""Finders: short trials of an experiment in a process of their own, which read a setting off a curve.

experiment ──> process: components as for training ──> steps ──> curve ──> a suggestion, a chart
"""
