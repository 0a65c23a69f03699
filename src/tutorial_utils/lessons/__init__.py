"""What only the series needs: pipeline, ledger, measuring, figures, exercises, preflight, notebooks."""
