#!/usr/bin/env bash
# bash run.sh [--minutes 9] [--python PYTHON] [--out FOLDER]: measure everything on this machine's GPU, without
# a network. Wheels are unpacked into a folder beside this file and nothing else is changed; what is measured is
# in results.json, table.md and log.txt from the first second on, also where the run is killed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
rest=()
while [ $# -gt 0 ]; do
	case $1 in
		--python) python=$2; shift 2 ;;
		*) rest+=("$1"); shift ;;
	esac
done
"$python" -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v == (3, 12) else f"The wheels are for Python 3.12, got {v[0]}.{v[1]}. Pass --python.")'
scratch=${SCRATCH:-$here/scratch}
mkdir -p "$scratch"
# Two runs at once unpack once.
exec 9>"$scratch/.lock"
if command -v flock >/dev/null; then flock 9; fi
if [ ! -e "$scratch/.complete" ]; then
	rm -rf "$scratch/site"
	mkdir -p "$scratch/site"
	# A wheel is an archive of what it installs: no pip is needed, and none could ask for a network.
	"$python" -c 'import sys, zipfile; [zipfile.ZipFile(wheel).extractall(sys.argv[1]) for wheel in sys.argv[2:]]' "$scratch/site" "$here"/wheels/*.whl
	touch "$scratch/.complete"
fi
exec 9>&-
export PYTHONPATH="$here/tree:$here/tree/benchmarks:$scratch/site" PYTHONUNBUFFERED=1
# scipy does not travel: what is asked of it here, a folder in the tree answers.
if ! "$python" -c 'import scipy.sparse' 2>/dev/null; then export PYTHONPATH="$PYTHONPATH:$here/tree/benchmarks/device/stand_ins"; fi
if ! "$python" -c 'import numpy; numpy.row_stack' 2>/dev/null; then export PYTHONPATH="$PYTHONPATH:$here/tree/benchmarks/device/row_stack"; fi
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false NUMBA_CACHE_DIR="$scratch/numba" TRITON_CACHE_DIR="$scratch/triton"
cd "$here/tree"
exec "$python" benchmarks/device/measure.py "${rest[@]}"
