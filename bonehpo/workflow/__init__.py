"""Composition: plans, results, reports, promotions and audits of a study, each in one call."""
