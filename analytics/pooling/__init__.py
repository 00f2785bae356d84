"""The paper's model over several sites from sums: no patient's row leaves its site."""
