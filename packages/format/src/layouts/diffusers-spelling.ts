import type { TargetModule } from '../adapter.js';
import type { Spelling } from './diffusers-key.js';

/** The three spellings of today's files. */
export type TodaySpelling = 'peft' | 'lora' | 'linear';
export type SpellingOf = (module: TargetModule) => TodaySpelling;

const ATTENTION = /\.(?:to_q|to_k|to_v|to_out\.0)$/;
const TEXT_ATTENTION = /\.(?:q_proj|k_proj|v_proj|out_proj)$/;

/**
 * What we write: the training scripts' spelling wherever today's loader reads it back whole.
 *
 * diffusers renames `lora.down/up` of a UNet only when the first key of the file is not `lora_A`
 * (diffusers@58eb52c loaders/peft.py `load_lora_adapter`), so a file that mixes both loses its attention when a
 * module such as `conv_in` or `proj_in` comes first. UNets with other modules than attention are therefore written
 * in PEFT's spelling throughout. Text encoders take `lora_linear_layer` on every module: a file with `lora_A` on its
 * MLPs alone is refused by `convert_state_dict_to_peft`.
 */
export function defaultSpelling(modules: readonly TargetModule[]): SpellingOf {
	const mixed = modules.some((m) => m.component === 'unet' && !ATTENTION.test(m.path));
	return (m) => (m.component.startsWith('text_encoder') ? 'linear' : m.component === 'unet' && !mixed ? 'lora' : 'peft');
}

/** convert_state_dict_to_diffusers over everything, as the training scripts do (utils/state_dict_utils.py PEFT_TO_DIFFUSERS). */
const scripts: SpellingOf = (m) => {
	if (m.component.startsWith('text_encoder')) return TEXT_ATTENTION.test(m.path) ? 'linear' : 'peft';
	return m.component === 'unet' && ATTENTION.test(m.path) ? 'lora' : 'peft';
};

/** diffusers 0.20 to 0.21, before PEFT. */
export const oldSpelling: SpellingOf = (m) => (m.component.startsWith('text_encoder') && m.path !== 'text_projection' ? 'linear' : 'lora');

const NAMED: readonly (readonly [string, SpellingOf])[] = [
	['scripts', scripts],
	['peft', () => 'peft'],
	['old', oldSpelling],
];

/** `component path`: the key of the exception table. */
export function moduleKey(module: Pick<TargetModule, 'component' | 'path'>): string {
	return `${module.component} ${module.path}`;
}

/**
 * The form entry that says how a file spelled its modules: undefined when as `usual` would write it, the name of a rule,
 * or a JSON table of the exceptions.
 */
export function describeSpelling(
	modules: readonly TargetModule[],
	actual: ReadonlyMap<string, Spelling>,
	usual: SpellingOf,
): string | undefined {
	const spelled = modules.filter((m) => isToday(actual.get(moduleKey(m))));
	const fits = (rule: SpellingOf): boolean => spelled.every((m) => rule(m) === actual.get(moduleKey(m)));
	if (fits(usual)) return undefined;
	for (const [name, rule] of NAMED) if (fits(rule)) return name;
	const table: [string, string][] = [];
	for (const m of spelled) {
		const is = actual.get(moduleKey(m));
		if (is !== undefined && is !== usual(m)) table.push([moduleKey(m), is]);
	}
	return JSON.stringify(Object.fromEntries(table.sort(([a], [b]) => (a < b ? -1 : 1))));
}

/** The rule that a form entry names; `usual` for an entry that is not there or not understood. */
export function spellingFrom(entry: string | undefined, usual: SpellingOf): SpellingOf {
	if (entry === undefined) return usual;
	for (const [name, rule] of NAMED) if (name === entry) return rule;
	let parsed: unknown;
	try {
		parsed = JSON.parse(entry);
	} catch {
		return usual;
	}
	if (typeof parsed !== 'object' || parsed === null) return usual;
	const table = new Map<string, unknown>(Object.entries(parsed));
	return (m) => {
		const is = table.get(moduleKey(m));
		return is === 'peft' || is === 'lora' || is === 'linear' ? is : usual(m);
	};
}

function isToday(spelling: Spelling | undefined): boolean {
	return spelling === 'peft' || spelling === 'lora' || spelling === 'linear';
}
