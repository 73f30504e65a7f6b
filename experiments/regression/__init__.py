"""Regression: finite networks over their limit, learned subspaces, sinusoids."""
