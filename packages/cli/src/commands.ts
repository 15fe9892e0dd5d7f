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
		name: 'fuse',
		summary: 'add adapters to a base model for good, exactly, at the speed of the disk',
		load: async () => (await import('./commands/fuse.js')).fuseCommand,
	},
	{
		name: 'unfuse',
		summary: 'bring the base back, bit for bit, from what fuse --reversible wrote',
		load: async () => (await import('./commands/unfuse.js')).unfuseCommand,
	},
	{
		name: 'verify',
		summary: 'say whether a fused model is base + adapters, and what went wrong if not',
		load: async () => (await import('./commands/verify.js')).verifyCommand,
	},
	{
		name: 'merge',
		summary: 'add adapters to one, exactly or at a rank, with the error of every module stated',
		load: async () => (await import('./commands/merge.js')).mergeCommand,
	},
	{
		name: 'scale',
		summary: 'change the strength of an adapter, of its parts or blocks',
		load: async () => (await import('./commands/scale.js')).scaleCommand,
	},
	{
		name: 'split',
		summary: 'write the components and embeddings of an adapter to files of their own',
		load: async () => (await import('./commands/split.js')).splitCommand,
	},
	{
		name: 'join',
		summary: 'put files of different components together',
		load: async () => (await import('./commands/join.js')).joinCommand,
	},
	{
		name: 'resize',
		summary: 'lower the ranks of an adapter, or fit it into a size, with its true error stated',
		load: async () => (await import('./commands/resize.js')).resizeCommand,
	},
	{
		name: 'extract',
		summary: 'make an adapter of the difference of two models',
		load: async () => (await import('./commands/extract.js')).extractCommand,
	},
	{
		name: 'diff',
		summary: 'compare what two adapters do, block by block, with pictures if asked',
		load: async () => (await import('./commands/diff.js')).diffCommand,
	},
	{
		name: 'generate',
		summary: 'draw pictures with Stable Diffusion and adapters over the unmodified base',
		load: async () => (await import('./commands/generate.js')).generateCommand,
	},
	{
		name: 'train',
		summary: 'learn a style, a subject or a word from pictures, as an adapter',
		load: async () => (await import('./commands/train.js')).trainCommand,
	},
	{
		name: 'doctor',
		summary: 'say which engines and devices can draw pictures here, and why the others cannot',
		load: async () => (await import('./commands/doctor.js')).doctorCommand,
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
