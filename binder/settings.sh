# Sourced by postBuild and start: the same settings when kernels are compiled and when they are loaded.
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

# A container sees all cores of its host and may use one or two of them.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"
export MKL_NUM_THREADS="${MKL_NUM_THREADS:-$OMP_NUM_THREADS}"
export OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-$OMP_NUM_THREADS}"
export NUMBA_NUM_THREADS="${NUMBA_NUM_THREADS:-$OMP_NUM_THREADS}"
export TOKENIZERS_PARALLELISM=false
# Each thread's own heap would keep memory that is not given back.
export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-2}"

# Numba's cache is for the CPU model it was made on, and images are built on another machine than
# they run on: compile for any x86-64 (or ARM), so that nothing is compiled at launch.
export NUMBA_CPU_NAME=generic
export NUMBA_CPU_FEATURES=""

# Everything the notebooks need is in the image.
export HF_HUB_OFFLINE=1

# Settings of JupyterLab for this place, and the extension that runs the demo when it is opened.
export JUPYTER_CONFIG_PATH="$here/jupyter${JUPYTER_CONFIG_PATH:+:$JUPYTER_CONFIG_PATH}"
export JUPYTER_PATH="$here/jupyter${JUPYTER_PATH:+:$JUPYTER_PATH}"
