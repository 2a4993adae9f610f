"""Compiler passes: plain functions from GraphModule to a new GraphModule, each with a *Before / After* contract."""
