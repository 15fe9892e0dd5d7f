#!/bin/sh
# A command line tool as a subject: file in, file out. Here the tool is this project's own CLI, `lora fuse`.
# It is asked L4 cases that load adapters at one strength each and export once; the rest is skipped. Needs jq and node.
#
#   lora-conformance run --subject 'sh harness/shell/subject.sh'
#
# TOOL      the command; it must know `--version` and `fuse BASE ADAPTER@STRENGTH... --out FOLDER` (default: npx lora)
# NAME      how the report calls it (default: lora fuse)
# FEATURES  JSON list of what it can do, so that it is not asked the rest (default: everything is asked)
#
# BASE is a folder with one folder for each component, which holds model.safetensors and maybe config.json; FOLDER is to
# become the same. Another tool, kohya's merge_lora.py, behind the same words: sd-scripts-merge.py, beside this file.
if [ "$1" = --help ]; then sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit; fi
TOOL=${TOOL:-npx lora}
NAME=${NAME:-lora fuse}
FEATURES=${FEATURES:-}
VERSION=$($TOOL --version)

while IFS= read -r line; do
	id=$(printf '%s' "$line" | jq -c .id)
	case $(printf '%s' "$line" | jq -r .op) in
	start)
		printf '{"id":%s,"protocol":1,"implementation":{"name":"%s","version":"%s","language":"shell"},"precision":"f32","levels":["L4"]%s}\n' \
			"$id" "$NAME" "$VERSION" "${FEATURES:+,\"features\":$FEATURES}"
		;;
	stop) exit 0 ;;
	weights)
		dir=$(printf '%s' "$line" | jq -r .dir)
		# A diffusers folder of the case's components; arguments of `lora fuse`, one a line.
		out=$(printf '%s' "$line" | jq -r 'select([.actions[].do] | (.[-1] == "export") and (.[:-1] | length > 0) and (.[:-1] | all(. == "load")))
			| select([.actions[:-1][].adapter | select(has("config") or has("textEncoder"))] == []) | .actions[-1].out')
		if [ -z "$out" ]; then
			printf '{"id":%s,"skipped":true,"message":"the tool loads adapters and writes one file"}\n' "$id"
			continue
		fi
		printf '%s' "$line" | jq -r '.base.components | to_entries[] | [.key, .value] | @tsv' | while IFS='	' read -r component file; do
			mkdir -p "$dir/base/$component"
			ln -s "$file" "$dir/base/$component/model.safetensors"
		done
		printf '%s' "$line" | jq -r '(.base.configs // {}) | to_entries[] | [.key, .value] | @tsv' | while IFS='	' read -r component file; do
			[ -d "$dir/base/$component" ] && ln -s "$file" "$dir/base/$component/config.json"
		done
		set --
		for spec in $(printf '%s' "$line" | jq -r '.actions[:-1][].adapter | (.strength // 1) as $s | .file + (if ($s | type) == "number" then "@\($s)"
			else ":unet=\($s.unet // 1),te=\($s.text_encoder // 1)" end)'); do
			set -- "$@" "$spec"
		done
		if message=$($TOOL fuse "$dir/base" "$@" --out "$dir/fused" 2>&1 >/dev/null); then
			# Component by component into one file under `component.name`.
			if node "$(dirname "$0")/join.mjs" "$dir/fused" "$out"; then printf '{"id":%s,"ok":true}\n' "$id"; else printf '{"id":%s,"error":{"message":"join"}}\n' "$id"; fi
		else
			printf '{"id":%s,"refused":true,"message":%s}\n' "$id" "$(printf '%s' "$message" | jq -Rs .)"
		fi
		rm -rf "$dir/base" "$dir/fused"
		;;
	*) printf '{"id":%s,"skipped":true,"message":"the tool only fuses"}\n' "$id" ;;
	esac
done
