/** What a completion script knows. */
export interface CompletionTable {
	readonly commands: readonly {
		/** `inspect`, `meta set`. */
		readonly name: string;
		readonly summary: string;
		readonly options: readonly { readonly flag: string; readonly about: string; readonly choices: readonly string[] }[];
	}[];
	readonly shells: readonly string[];
}

/** For bash: a function and its registration. File names are completed wherever no option is. */
export function bashScript(table: CompletionTable): string {
	const top = table.commands.filter(({ name }) => !name.includes(' '));
	const values = new Map<string, readonly string[]>();
	for (const { options } of table.commands) for (const { flag, choices } of options) if (choices.length > 0) values.set(flag, choices);
	return `# bash completion of lora; made by "lora completion bash"
_lora() {
	local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" cmd="\${COMP_WORDS[1]}" sub="\${COMP_WORDS[2]}"
	if [ "\${COMP_WORDS[0]##*/}" = lora-convert ]; then cmd=convert; sub=; elif [ "$COMP_CWORD" -eq 1 ]; then
		COMPREPLY=($(compgen -W "${top.map(({ name }) => name).join(' ')} help --help --version" -- "$cur"))
		return
	fi
	case "$prev" in
${[...values].map(([flag, choices]) => `		${flag}) COMPREPLY=($(compgen -W "${choices.join(' ')}" -- "$cur")); return ;;`).join('\n')}
	esac
	case "$cmd" in
		completion) COMPREPLY=($(compgen -W "${table.shells.join(' ')}" -- "$cur")); return ;;
		help) COMPREPLY=($(compgen -W "${top.map(({ name }) => name).join(' ')}" -- "$cur")); return ;;
${parents(table)
	.map(
		(name) =>
			`		${name}) [ "$COMP_CWORD" -eq 2 ] && { COMPREPLY=($(compgen -W "${subsOf(table, name).join(' ')}" -- "$cur")); return; }; cmd="${name} $sub" ;;`,
	)
	.join('\n')}
	esac
	if [[ "$cur" == -* ]]; then
		case "$cmd" in
${table.commands.map(({ name, options }) => `			"${name}") COMPREPLY=($(compgen -W "${options.map(({ flag }) => flag).join(' ')}" -- "$cur")) ;;`).join('\n')}
		esac
		return
	fi
	COMPREPLY=($(compgen -f -- "$cur"))
}
complete -o filenames -F _lora lora lora-convert
`;
}

/** For zsh, with a description of each command and option. */
export function zshScript(table: CompletionTable): string {
	const top = table.commands.filter(({ name }) => !name.includes(' '));
	const spec = (options: CompletionTable['commands'][number]['options']): string =>
		options
			.map(({ flag, about, choices }) => `'${flag}[${zshText(about)}]${choices.length > 0 ? `:value:(${choices.join(' ')})` : ''}'`)
			.join(' ');
	return `#compdef lora lora-convert
# zsh completion of lora; made by "lora completion zsh"
_lora() {
	local cmd="\${words[2]}"
	if [[ "\${service}" == lora-convert ]]; then cmd=convert; elif (( CURRENT == 2 )); then
		local -a commands=(${top.map(({ name, summary }) => `'${name}:${zshText(summary)}'`).join(' ')})
		_describe command commands
		return
	fi
	case "$cmd" in
		completion) _values shell ${table.shells.join(' ')}; return ;;
		help) _values command ${top.map(({ name }) => name).join(' ')}; return ;;
${parents(table)
	.map(
		(name) =>
			`		${name}) if (( CURRENT == 3 )); then _values command ${subsOf(table, name).join(' ')}; return; fi; cmd="${name} \${words[3]}" ;;`,
	)
	.join('\n')}
	esac
	case "$cmd" in
${table.commands.map(({ name, options }) => `		"${name}") _arguments ${spec(options)} '*:file:_files' ;;`).join('\n')}
	esac
}
compdef _lora lora lora-convert
`;
}

/** For fish. */
export function fishScript(table: CompletionTable): string {
	const lines = ['# fish completion of lora; made by "lora completion fish"'];
	for (const { name, summary, options } of table.commands) {
		const [command = '', sub] = name.split(' ');
		const seen =
			sub === undefined
				? `__fish_seen_subcommand_from ${command}`
				: `__fish_seen_subcommand_from ${command}; and __fish_seen_subcommand_from ${sub}`;
		const offer = sub === undefined ? '__fish_use_subcommand' : `__fish_seen_subcommand_from ${command}`;
		lines.push(`complete -c lora -n '${offer}' -a ${sub ?? command} -d '${fishText(summary)}'`);
		for (const { flag, about, choices } of options) {
			const values = choices.length > 0 ? ` -x -a '${choices.join(' ')}'` : '';
			lines.push(`complete -c lora -n '${seen}' -l ${flag.replace(/^--/, '')} -d '${fishText(about)}'${values}`);
			if (command === 'convert') lines.push(`complete -c lora-convert -l ${flag.replace(/^--/, '')} -d '${fishText(about)}'${values}`);
		}
	}
	lines.push(`complete -c lora -n '__fish_seen_subcommand_from completion' -x -a '${table.shells.join(' ')}'`);
	return `${lines.join('\n')}\n`;
}

/** Commands that have sub-commands. */
function parents(table: CompletionTable): string[] {
	return [...new Set(table.commands.flatMap(({ name }) => (name.includes(' ') ? [name.slice(0, name.indexOf(' '))] : [])))];
}

function subsOf(table: CompletionTable, command: string): string[] {
	return table.commands.filter(({ name }) => name.startsWith(`${command} `)).map(({ name }) => name.slice(command.length + 1));
}

/** No quotes, brackets or colons: they mean something to zsh. */
function zshText(text: string): string {
	return text.replace(/['"\\`$]/g, '').replace(/[[\]:]/g, ' ');
}

function fishText(text: string): string {
	return text.replace(/['\\]/g, '');
}
