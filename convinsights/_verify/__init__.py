"""What `convinsights.verify` is made of: cases, bounds, candidates, hypotheses and a diagnosis."""
