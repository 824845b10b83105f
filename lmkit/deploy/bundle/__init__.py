"""Bundles: a variant as a folder that is served without a framework."""
