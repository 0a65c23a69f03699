"""What only the course needs: pipeline, ledger, figures, exercises, preflight, notebooks."""
