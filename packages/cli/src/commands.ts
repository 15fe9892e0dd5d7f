import type { CommandEntry } from './command.js';

/** Every command. Only the one that is asked for is loaded. */
export const COMMANDS: readonly CommandEntry[] = [
	{
		name: 'inspect',
		summary: 'say what is inside files: base model, layout, ranks, strength, trigger words',
		load: async () => (await import('./commands/inspect.js')).inspectCommand,
	},
	{
		name: 'validate',
		summary: 'judge files as strictly as convert does, and list everything wrong',
		load: async () => (await import('./commands/validate.js')).validateCommand,
	},
	{
		name: 'check',
		summary: 'say how much of a file ComfyUI, A1111, diffusers, PEFT or kohya will load',
		load: async () => (await import('./commands/check.js')).checkCommand,
	},
	{
		name: 'convert',
		summary: 'write a file in another layout or container, exactly, with a receipt',
		load: async () => (await import('./commands/convert.js')).convertCommand,
	},
	{
		name: 'hash',
		summary: 'print the hashes that sites and user interfaces know a file by',
		load: async () => (await import('./commands/hash.js')).hashCommand,
	},
	{
		name: 'meta',
		summary: 'show, set or strip header entries without touching the tensors',
		load: async () => (await import('./commands/meta.js')).metaCommand,
	},
	{
		name: 'explain',
		summary: 'explain a code such as E_AMBIGUOUS and what to do about it',
		load: async () => (await import('./commands/explain.js')).explainCommand,
	},
	{
		name: 'completion',
		summary: 'print the completion script of a shell',
		load: async () => (await import('./commands/completion.js')).completionCommand,
	},
];
