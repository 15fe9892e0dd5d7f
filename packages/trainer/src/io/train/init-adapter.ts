import {
	decodeAdapter,
	decodeFloats,
	type Embedding,
	embeddingsAsAdapter,
	FormatError,
	loadInput,
	quote,
	type Tensor,
	type TargetModule as WrittenModule,
} from '@lorakit/format';
import { openSource, resolveInput } from '@lorakit/format/node';
import { inputName } from '@lorakit/runtime';
import type { TargetModule } from '../../model/target-modules.js';
import type { TrainableTensor } from '../../model/trainable-tensor.js';
import { TOKEN_ROWS, TOKEN_ROWS_2 } from '../../model/trainable-tensors.js';

/**
 * Begin with the factors (and tokens) of an adapter file, of any layout. Its scaling is brought to that of the run by its up factor, so the model
 * starts as the file leaves it.
 *
 * @throws {FormatError} `E_CONFIG` when it has other modules, ranks or shapes than the run trains, or is no plain LoRA; `E_NONFINITE` for
 *   values that are no numbers; those of reading
 */
export async function initFromAdapter(
	spec: string,
	modules: readonly TargetModule[],
	tensors: readonly TrainableTensor[],
	token: string | undefined,
): Promise<void> {
	const resolved = await resolveInput(spec);
	const open = [];
	try {
		const main = await openSource(resolved.main);
		open.push(main);
		const embeddings = [];
		for (const file of resolved.companions.embeddings) {
			const source = await openSource(file);
			open.push(source);
			embeddings.push(source);
		}
		const input = await loadInput({ main, embeddings }, { values: true });
		// A learned word alone is an adapter without modules.
		const adapter = embeddingsAsAdapter(input) ?? decodeAdapter(input).adapter;
		const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
		const found = new Map(adapter.modules.map((module) => [`${module.component} ${module.path}`, module]));
		for (const module of modules) {
			const key = `${module.component} ${module.path}`;
			const written = found.get(key);
			found.delete(key);
			if (written === undefined)
				throw new FormatError('E_CONFIG', `${quote(spec)} has no ${key}, which this run trains; set adapter.targets as it was.`, {
					at: module.path,
				});
			await take(spec, module, written, byName);
		}
		const [extra] = found.keys();
		if (extra !== undefined) {
			throw new FormatError(
				'E_CONFIG',
				`${quote(spec)} has ${extra}, which this run does not train and would lose; set adapter.targets and adapter.text_encoder as they were.`,
				{ at: extra },
			);
		}
		await takeToken(spec, adapter.embeddings, byName, token);
	} finally {
		for (const source of open) await source.close();
	}
}

async function take(
	spec: string,
	module: TargetModule,
	written: WrittenModule,
	byName: ReadonlyMap<string, TrainableTensor>,
): Promise<void> {
	const { component, path, scaling } = module;
	const { down, up, magnitude } = written.factors;
	const plain =
		written.family === 'lora' &&
		down !== undefined &&
		up !== undefined &&
		Object.keys(written.factors).every((role) => role === 'down' || role === 'up' || role === 'magnitude');
	if (!plain || (magnitude !== undefined) !== module.dora) {
		throw new FormatError(
			'E_CONFIG',
			`${quote(spec)}: ${component} ${path} is ${written.family}${magnitude === undefined ? '' : ' with DoRA'}, but this run trains ${module.dora ? 'DoRA' : 'plain LoRA'} there.`,
			{ at: path },
		);
	}
	await copy(spec, down, byName.get(inputName(component, path, 'down')), 1);
	await copy(spec, up, byName.get(inputName(component, path, 'up')), written.scaling / scaling);
	if (magnitude !== undefined) await copy(spec, magnitude, byName.get(inputName(component, path, 'magnitude')), 1);
}

async function takeToken(
	spec: string,
	embeddings: readonly Embedding[],
	byName: ReadonlyMap<string, TrainableTensor>,
	token: string | undefined,
): Promise<void> {
	const other = embeddings.find((embedding) => embedding.token !== token);
	if (other !== undefined) {
		throw new FormatError(
			'E_CONFIG',
			`${quote(spec)} has the learned token ${quote(other.token)}, which this run does not train and would lose; train it (token.placeholder_token), or take it out of the file.`,
			{ at: other.token },
		);
	}
	const tables = [TOKEN_ROWS, TOKEN_ROWS_2].flatMap((name) => byName.get(name) ?? []);
	for (const rows of tables) {
		const component = rows.name === TOKEN_ROWS_2 ? 'text_encoder_2' : 'text_encoder';
		const own = embeddings.find((embedding) => tables.length === 1 || embedding.component === component);
		if (own !== undefined) await copy(spec, own.vectors, rows, 1);
		else if (embeddings.length > 0) {
			throw new FormatError(
				'E_CONFIG',
				`${quote(spec)} has ${quote(token ?? '')} for ${embeddings.map((embedding) => embedding.component).join(', ')}, and not for ${component}, which this base has too; the token was learned for another base.`,
				{ at: component },
			);
		}
	}
	const extra = embeddings.find(({ component }) => component === 'text_encoder_2' && tables.length === 1);
	if (extra !== undefined) {
		throw new FormatError(
			'E_CONFIG',
			`${quote(spec)} has ${quote(extra.token)} for a second text encoder, which this base has not; the token was learned for SDXL.`,
			{ at: extra.component },
		);
	}
}

async function copy(spec: string, from: Tensor, to: TrainableTensor | undefined, factor: number): Promise<void> {
	if (to === undefined) throw new TypeError('a module without its tensors');
	const values = decodeFloats(from.dtype, await from.read());
	if (values.length !== to.values.length || from.shape[0] !== to.shape[0]) {
		// A bare vector is one row, and a magnitude may have dimensions of 1 around it.
		const flat = values.length === to.values.length && (from.shape.length === 1 || from.shape.filter((d) => d !== 1).length <= 1);
		if (!flat) {
			throw new FormatError(
				'E_CONFIG',
				`${quote(spec)}: ${quote(to.name)} is (${from.shape.join(', ')}) there and (${to.shape.join(', ')}) in this run; set adapter.rank as it was.`,
				{ at: to.name },
			);
		}
	}
	for (let i = 0; i < values.length; i++) {
		to.values[i] = (values[i] ?? 0) * factor;
		if (Number.isFinite(to.values[i])) continue;
		throw new FormatError(
			'E_NONFINITE',
			`${quote(spec)}: ${quote(to.name)} has ${values[i]} at element ${i}, which is no finite float32 at the scale of this run; take an adapter whose training did not break off.`,
			{ at: to.name },
		);
	}
}
