import {
	type Adapter,
	type CastDType,
	type ConversionPlan,
	castAdapter,
	embeddingFiles,
	FormatError,
	findLayout,
	foldScaling,
	type PlannedFile,
	planAdapter,
	plannedBytes,
	quote,
	type Warning,
} from '@lorakit/format';
import { networkEntries } from './network-entries.js';
import { adapterFileName, EMBEDDINGS_STEM, type ResultContainer } from './result-names.js';
import { type RoundingTally, roundingTally } from './rounding-tally.js';

/** How the result is written. */
export interface ResultOptions {
	/** Id or alias of a layout. Default `diffusers`. */
	readonly layout?: string | undefined;
	/** Default `safetensors`. */
	readonly container?: ResultContainer | undefined;
	/** Of the factors. Default `F32`. Learned tokens stay float32, as cloneofsimo and diffusers save them: they are small. */
	readonly dtype?: CastDType | undefined;
	/**
	 * Where learned tokens go: `beside` (`learned_embeds.safetensors`), `inside` the adapter's file (kohya, cloneofsimo), or
	 * both, the default where a layout can hold them.
	 */
	readonly embeddings?: 'beside' | 'inside' | 'both' | undefined;
	/** Header entries of `learned_embeds.safetensors`; see `embeddingMetadata`. */
	readonly embeddingMetadata?: ReadonlyMap<string, string> | undefined;
}

/** One file of a result, decided to the byte, not written yet. */
export interface ResultFile {
	/** Without a folder. */
	readonly name: string;
	readonly what: 'adapter' | 'embeddings' | 'configuration';
	/** Of the whole file. */
	readonly bytes: number;
	/** `text`: a side file such as `adapter_config.json`. */
	readonly content: PlannedFile | string;
	/** Learned tokens in it, where that is all it holds. */
	readonly tokens: readonly string[];
}

/** The files of a result. */
export interface ResultPlan {
	/** Of the layout that was written. */
	readonly layout: string;
	/** The adapter's own file; undefined where only tokens were learned. */
	readonly main: string | undefined;
	readonly files: readonly ResultFile[];
	/** What was done that nobody asked for, a sentence each. */
	readonly notes: readonly string[];
	readonly warnings: readonly Warning[];
	/** What only the data tells (values that a narrower type made 0 or infinite). Call it after the files were written. */
	tally(): readonly Warning[];
}

/**
 * The files of a trained adapter in a layout. Nothing is read: the same plan over tensors without values gives the exact
 * sizes, and the refusals, before training.
 *
 * A layout without a place for alpha gets it multiplied into the factors (in float64, rounded once), which a note says; a torch
 * file has no header, so metadata stays out of it.
 *
 * @throws {FormatError} `E_USAGE` (no such layout; tokens inside a layout that has no place for them), and what
 *   `planAdapter` refuses: `E_UNSUPPORTED_ADAPTER`, `E_LOSS`, `E_MODULE_UNRESOLVED`
 */
export function planResult(adapter: Adapter, options: ResultOptions = {}): ResultPlan {
	const { layout = 'diffusers', container = 'safetensors' } = options;
	const { id } = findLayout(layout, container);
	const notes: string[] = [];
	const files: ResultFile[] = [];
	const tokens = [...new Set(adapter.embeddings.map(({ token }) => token))];
	const name = adapterFileName(layout, container, adapter.source.name);
	const tally = roundingTally();
	let plan: ConversionPlan | undefined;
	let inside = false;
	if (adapter.modules.length > 0) {
		const wanted = options.embeddings === 'beside' ? { ...adapter, embeddings: [] } : adapter;
		plan = planMain(wanted, { ...options, layout: id, container }, notes, tally);
		for (const file of plan.files) {
			// Tokens that the layout has no place for come as files of our own naming: they get diffusers' below.
			if (!isEmbeddingFile(file)) files.push(adapterFile(file, name));
		}
		for (const [side, text] of plan.sideFiles) {
			files.push({ name: side, what: 'configuration', bytes: new TextEncoder().encode(text).byteLength, content: text, tokens: [] });
		}
		inside = tokens.length > 0 && options.embeddings !== 'beside' && !plan.files.some(isEmbeddingFile);
	}
	if (options.embeddings === 'inside' && tokens.length > 0 && !inside) {
		throw new FormatError(
			'E_USAGE',
			plan === undefined
				? 'Only tokens were learned, so there is no adapter file that could hold them; leave the embeddings beside.'
				: `${id} has no place for learned tokens inside its file; choose kohya or cloneofsimo, or leave the embeddings beside.`,
		);
	}
	if (options.embeddings !== 'inside') files.push(...embeddingsBeside(adapter, options));
	return {
		layout: id,
		main: plan === undefined ? undefined : name,
		files,
		notes,
		warnings: (plan?.warnings ?? []).filter(({ code }) => code !== 'W_EMBEDDING_BESIDE'),
		tally: tally.warnings,
	};
}

interface MainOptions extends ResultOptions {
	readonly layout: string;
	readonly container: ResultContainer;
}

function planMain(adapter: Adapter, options: MainOptions, notes: string[], tally: RoundingTally): ConversionPlan {
	const { layout, container } = options;
	const bare = container === 'torch-zip' && adapter.metadata.size > 0;
	if (bare) notes.push('a torch file has no header, so what the training was is said in README.md and training.json alone');
	const written = bare ? { ...adapter, metadata: new Map<string, string>() } : adapter;
	try {
		return planAdapter(rounded(written, options, false, tally), { to: layout, container });
	} catch (error) {
		if (!(error instanceof FormatError) || error.code !== 'E_ALPHA_NO_SLOT') throw error;
		notes.push(`${layout} has no place for alpha, so it is multiplied into the factors`);
		const folded = { ...written, metadata: foldedMetadata(written) };
		return planAdapter(rounded(folded, options, true, tally), { to: layout, container });
	}
}

/** Factors in the type asked for, rounded once also where alpha is multiplied in. Tokens stay as they are. */
function rounded(adapter: Adapter, { dtype = 'F32' }: ResultOptions, fold: boolean, tally: RoundingTally): Adapter {
	const factors = { ...adapter, embeddings: [] };
	const folded = fold ? foldScaling(factors, { dtype, observe: tally.observe }) : factors;
	return { ...castAdapter(folded, dtype, tally.observe), embeddings: adapter.embeddings };
}

/** kohya's entries of factors that have their scaling in them: alpha is the rank. */
function foldedMetadata({ metadata, modules }: Adapter): ReadonlyMap<string, string> {
	if (!metadata.has('ss_network_alpha')) return metadata;
	const folded = modules.flatMap(({ rank, factors }) =>
		rank === undefined
			? []
			: [
					{
						rank,
						scaling: 1,
						convolution: factors.down?.shape.slice(2).some((d) => d !== 1) === true,
						dora: factors.magnitude !== undefined,
					},
				],
	);
	return new Map([...metadata, ...networkEntries(folded)]);
}

/** `_emb.safetensors`, `_emb_TOKEN.safetensors`: what format writes beside a layout without a place for tokens. */
function isEmbeddingFile(file: PlannedFile): boolean {
	return file.beside && file.suffix.startsWith('_emb');
}

function adapterFile(file: PlannedFile, main: string): ResultFile {
	const stem = main.slice(0, main.lastIndexOf('.'));
	const name = file.suffix === '' ? main : `${stem}${file.suffix}`;
	const own = name.slice(0, name.lastIndexOf('.'));
	return { name, what: 'adapter', bytes: plannedBytes({ files: [file], sideFiles: new Map() }, [own]), content: file, tokens: [] };
}

/** A file for each token, float32 whatever the adapter is. */
function embeddingsBeside(adapter: Adapter, options: ResultOptions): ResultFile[] {
	return embeddingFiles(adapter.embeddings).map(({ fileStemSuffix, tensors, metadata }) => {
		const token = metadata.get('lorakit.token');
		if (token === undefined) throw new TypeError(`an embedding file without a token: ${quote(fileStemSuffix)}`);
		const content: PlannedFile = {
			suffix: '',
			tensors,
			metadata: new Map([...(options.embeddingMetadata ?? []), ...metadata]),
			top: 'dict',
			container: 'safetensors',
			beside: true,
		};
		const name = `${EMBEDDINGS_STEM}${fileStemSuffix.slice('_emb'.length)}.safetensors`;
		return { name, what: 'embeddings', bytes: plannedBytes({ files: [content], sideFiles: new Map() }), content, tokens: [token] };
	});
}
