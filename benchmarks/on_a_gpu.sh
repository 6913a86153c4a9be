#!/usr/bin/env bash
# Tune and measure on this machine's GPU: variants, speed beside PyTorch, and the stream; about 25 minutes on one GPU.
#
#   bash benchmarks/on_a_gpu.sh RESULTS
#
# RESULTS is a folder for the tables. berg_jax must be installed with its cuda12 or cuda13 extra, and for the comparison
# PyTorch with CUDA. Without a GPU nothing is measured.
set -euo pipefail
results=${1:?Give a folder for the results: bash benchmarks/on_a_gpu.sh RESULTS}
mkdir -p "$results"

python - <<'PYTHON' # before 2 GB are written for nothing
from berg_jax.machine import find_devices
print("GPU:", find_devices("gpu")[0].device_kind)
PYTHON
berg-jax env | tee "$results/machine.txt"
python -m pytest -q tests/model tests/subject 2>&1 | tee "$results/tests.txt"

precisions=(float32 tensorfloat32 bfloat16)
berg-jax tune "${precisions[@]/#/--precision=}"
berg-jax tune --show | tee "$results/tuned.txt"

for batch in 8 64 256; do
  berg-jax bench --device gpu --batch-size "$batch" "${precisions[@]/#/--precision=}" \
    --case full-brain --case ROI --case ROI-gradient --case stack --case readout \
    --output "$results/speed_batch_$batch.json" | tee "$results/speed_batch_$batch.txt" ||
    echo "Batches of $batch were not measured to the end: see above."
done
berg-jax bench --device gpu --batch-size 8 "${precisions[@]/#/--precision=}" --case synthesis \
  --output "$results/synthesis.json" | tee "$results/synthesis.txt"
berg-jax bench --device gpu --batch-size 64 "${precisions[@]/#/--precision=}" --torch-compile \
  --case full-brain --case ROI-gradient --output "$results/compiled.json" | tee "$results/compiled.txt" ||
  echo "PyTorch's compiled networks were not measured: see above."
berg-jax bench-stream --batch-size 64 --output "$results/stream.json" | tee "$results/stream.txt"
echo "All figures are in $results."
