"""One checkpoint in; likelihoods, samples and figures out. No Ray in here: `runtime` spreads it over workers."""
