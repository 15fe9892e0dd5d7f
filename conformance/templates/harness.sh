#!/bin/sh
# LoRA conformance harness (protocol 1) for a command line tool that merges: base file and adapter in, base file out.
# It asks L4 cases that load one adapter into one component and export it; the rest is skipped. Needs jq.
# https://github.com/lorakit/lorakit/blob/main/conformance/PROTOCOL.md
VERSION=0.0.0

# Write your tool's command here; it must write the file "$4".
merge() { # base adapter strength out
	my-tool merge --base "$1" --lora "$2" --scale "$3" --output "$4" >&2
}

while IFS= read -r line; do
	id=$(printf '%s' "$line" | jq -c .id)
	case $(printf '%s' "$line" | jq -r .op) in
	start)
		printf '{"id":%s,"protocol":1,"implementation":{"name":"my-tool","version":"%s"},"precision":"f32","levels":["L4"]}\n' "$id" "$VERSION"
		;;
	stop) exit 0 ;;
	weights)
		# One component, the actions load and export, one number as strength.
		args=$(printf '%s' "$line" | jq -r 'select((.base.components | length) == 1 and [.actions[].do] == ["load", "export"])
			| [(.base.components | to_entries[0].value), .actions[0].adapter.file, (.actions[0].adapter.strength // 1), .actions[1].out] | map(tostring) | @tsv')
		if [ -z "$args" ]; then
			printf '{"id":%s,"skipped":true,"message":"the tool merges one adapter into one file"}\n' "$id"
			continue
		fi
		IFS='	' read -r base adapter strength out <<-EOF
			$args
		EOF
		if merge "$base" "$adapter" "$strength" "$out"; then
			printf '{"id":%s,"ok":true}\n' "$id"
		else
			printf '{"id":%s,"refused":true,"message":"exit code %s"}\n' "$id" "$?"
		fi
		;;
	*) printf '{"id":%s,"skipped":true,"message":"the tool only merges"}\n' "$id" ;;
	esac
done
