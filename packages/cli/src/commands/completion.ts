import { Argument, type Command } from 'commander';
import type { CliCommand } from '../command.js';
import { examples } from '../command.js';
import { bashScript, type CompletionTable, fishScript, zshScript } from '../completion-scripts.js';
import { buildProgram } from '../program.js';

/** `lora completion bash|zsh|fish` */
export const completionCommand: CliCommand = {
	define(command, context) {
		command
			.addArgument(new Argument('<shell>', 'the shell').choices(['bash', 'zsh', 'fish']))
			.addHelpText(
				'after',
				examples(
					'lora completion bash >> ~/.bashrc',
					'lora completion zsh > ~/.zfunc/_lora',
					'lora completion fish > ~/.config/fish/completions/lora.fish',
				),
			)
			.action(async (shell: string) => {
				const output = context.open({});
				const table = tableOf(await buildProgram((name) => name !== 'completion', context));
				output.text(shell === 'bash' ? bashScript(table) : shell === 'zsh' ? zshScript(table) : fishScript(table));
			});
	},
};

/** Commands and their options, from the same definitions that parse them; `meta set` is one entry. */
function tableOf(program: Command): CompletionTable {
	const commands: { name: string; summary: string; options: { flag: string; about: string; choices: readonly string[] }[] }[] = [];
	const add = (command: Command, name: string): void => {
		const options = command.options
			.filter((option) => !option.hidden)
			.map((option) => ({ flag: option.long ?? option.flags, about: option.description, choices: option.argChoices ?? [] }));
		commands.push({ name, summary: command.summary(), options: [...options, { flag: '--help', about: 'show help', choices: [] }] });
		for (const sub of command.commands) add(sub, `${name} ${sub.name()}`);
	};
	for (const command of program.commands) add(command, command.name());
	return { commands, shells: ['bash', 'zsh', 'fish'] };
}
