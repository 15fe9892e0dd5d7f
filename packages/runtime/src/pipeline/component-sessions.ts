import type { AdapterFeeds } from '../adapters/adapter-feeds.js';
import { feedsOf, formsFor, formsKey, NO_ADAPTERS } from '../adapters/adapter-feeds.js';
import type { FormOf } from '../adapters/module-form.js';
import { readWeight } from '../base/read-weight.js';
import { requireWeight, type Weights } from '../base/weights.js';
import type { Engine, ParameterSource, Session } from '../engines/engine.js';
import type { Graph } from '../graph/index.js';
import type { HostTensor } from '../host-tensor.js';

/**
 * A component of the pipeline that can be run at any size, with any adapters. What is asked of it while it is busy waits
 * its turn: another size or another form closes the session that a run is using.
 */
export interface Component {
	/** Adapters from the next run on. Nothing is loaded for adapters that are plain low-rank factors. */
	adapt(adapters: AdapterFeeds): void;
	/**
	 * Run the graph of `key` (made by `record` when it is new), adapters included.
	 * @param taps values inside that are wanted too
	 */
	run(
		key: string,
		record: (forms: FormOf) => Graph,
		feeds: Readonly<Record<string, HostTensor>>,
		taps?: readonly string[],
	): Promise<Readonly<Record<string, HostTensor>>>;
	/** Get ready for a `run` with that key. */
	prepare(key: string, record: (forms: FormOf) => Graph, taps?: readonly string[]): Promise<Session>;
	/** Give the memory of the weights back until the next run. */
	release(): Promise<void>;
}

export interface ComponentOptions {
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
	/** As of `LoadOptions`. */
	readonly upcast?: boolean | undefined;
}

/**
 * One session at a time: another size, or adapters of another form, load the graph anew, after the old one is closed,
 * so that the weights are in memory once.
 */
export function createComponent(name: string, engine: Engine, weights: Weights, options: ComponentOptions = {}): Component {
	let current: { readonly key: string; readonly taps: readonly string[]; readonly session: Session } | undefined;
	let adapters = NO_ADAPTERS;
	let adapted: { readonly session: Session; readonly adapters: AdapterFeeds; readonly feeds: Record<string, HostTensor> } | undefined;
	let last: Promise<unknown> = Promise.resolve();

	function inTurn<T>(task: () => Promise<T>): Promise<T> {
		const result = last.then(task);
		last = result.then(
			() => undefined,
			() => undefined,
		);
		return result;
	}

	async function load(use: AdapterFeeds, key: string, record: (forms: FormOf) => Graph, taps: readonly string[]): Promise<Session> {
		const whole = `${key}\n${formsKey(use, name)}`;
		// A session that gives more than is asked for will do.
		if (current?.key === whole && taps.every((tap) => current?.taps.includes(tap))) return current.session;
		await release();
		const graph = record(formsFor(use));
		const session = await engine.load(graph, parameterSource(graph, weights), { taps, ...options });
		current = { key: whole, taps, session };
		return session;
	}

	async function release(): Promise<void> {
		const closing = current?.session;
		current = undefined;
		adapted = undefined;
		await closing?.close();
	}

	return {
		adapt(next) {
			adapters = next;
		},
		prepare(key, record, taps = []) {
			const use = adapters;
			return inTurn(() => load(use, key, record, taps));
		},
		release: () => inTurn(release),
		run(key, record, feeds, taps = []) {
			// Those of now: `adapt` is for the runs after it.
			const use = adapters;
			return inTurn(async () => {
				const session = await load(use, key, record, taps);
				if (adapted?.session !== session || adapted.adapters !== use) {
					adapted = { session, adapters: use, feeds: await feedsOf(session.graph, use, parameterSource(session.graph, weights).read) };
				}
				return await session.run({ ...adapted.feeds, ...feeds });
			});
		},
	};
}

/** The weights of a base under the names of a graph's parameters, checked against the shapes it asks for. */
export function parameterSource(graph: Graph, weights: Weights): ParameterSource {
	const shapes = new Map(graph.parameters.map(({ name, value }) => [name, (graph.values[value]?.shape ?? []) as readonly number[]]));
	const place = (parameter: string) => {
		const dot = parameter.indexOf('.');
		const [component, name] = [parameter.slice(0, dot), parameter.slice(dot + 1)];
		const shape = shapes.get(parameter) ?? weights.shape(component, name) ?? [];
		return requireWeight(weights, component, name, shape);
	};
	return {
		read: (name) => readWeight(place(name)),
		stored(name) {
			const { tensor, rows, transposed } = place(name);
			return rows === undefined && transposed !== true ? tensor : undefined;
		},
	};
}
