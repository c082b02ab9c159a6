// The catalog service: what the shop sells, and how many of each are left.

import { errorMessage, systemClock } from '@heptad/core';
import { type Product, productDraft, productId } from './catalog/product.ts';
import { ProductStore } from './catalog/product-store.ts';
import { SEED } from './catalog/seed.ts';
import { ORDER_CONFIRMED, orderEvent, PRODUCT_CHANGED } from './shared/events.ts';
import { HttpProblem, type Routes } from './shared/http.ts';
import { openPlatform, type Platform } from './shared/platform.ts';
import { runService, type ServiceContext } from './shared/run.ts';

const SEED_PAUSE_MS = 1_000;

await runService('catalog', async (context) => {
  const platform = openPlatform('catalog', context.log);
  const products = new ProductStore(platform.storage);
  const seeding = seed(products, context);
  let seeded = false;
  seeding.then(() => {
    seeded = true;
  });
  const subscription = followOrders(products, platform, context);
  return {
    routes: routes(products, platform, context),
    notReady: () => (seeded ? undefined : 'the products are not loaded yet'),
    close: async () => {
      await subscription.close();
      await platform.close();
    },
  };
});

function routes(products: ProductStore, platform: Platform, context: ServiceContext): Routes {
  return {
    'GET /products': async ({ url }) => {
      const ids = url.searchParams.get('ids')?.split(',').filter(Boolean);
      const found =
        ids === undefined
          ? await products.list()
          : (await Promise.all(ids.slice(0, 100).map((id) => products.find(id)))).flatMap((one) => one ?? []);
      return { status: 200, json: { products: found } };
    },
    'GET /products/:id': async ({ params }) => {
      const id = params.id ?? '';
      const found = await products.find(id);
      if (found === undefined) throw new HttpProblem(404, 'PRODUCT_NOT_FOUND', `there is no product "${id}"`);
      return { status: 200, json: found };
    },
    'POST /products': async ({ json }) => {
      const { id, ...draft } = productDraft.extend({ id: productId }).parse(await json());
      const added = await products.add(id, draft);
      if (added === undefined) {
        throw new HttpProblem(
          409,
          'PRODUCT_EXISTS',
          `there is a product "${id}" already`,
          'change it with PUT',
        );
      }
      announce(platform, context, added);
      return { status: 201, json: added, headers: { location: `/products/${id}` } };
    },
    'PUT /products/:id': async ({ params, json }) => {
      const id = productId.parse(params.id);
      const replaced = await products.replace(id, productDraft.parse(await json()));
      announce(platform, context, replaced);
      return { status: 200, json: replaced };
    },
  };
}

// The change stands whether or not the bus can be reached; the bus client goes on trying for a while.
function announce(platform: Platform, context: ServiceContext, changed: Product): void {
  const id = `product-${changed.id}-${changed.updatedAt}`;
  platform.events.publish(PRODUCT_CHANGED, { key: changed.id, id, data: changed }).catch((error: unknown) => {
    context.log.warn('product event not published', { product: changed.id, error: errorMessage(error) });
  });
}

function followOrders(products: ProductStore, platform: Platform, context: ServiceContext) {
  return platform.events.subscribe(
    ORDER_CONFIRMED,
    { group: 'catalog', from: 'beginning' },
    async (event) => {
      const { orderId, items } = orderEvent.parse(event.data);
      for (const { productId: id, quantity } of items) {
        const left = await products.take(id, orderId, quantity);
        if (left !== undefined) announce(platform, context, left);
      }
      context.log.info('stock reduced', { order: orderId, position: event.position, attempt: event.attempt });
    },
  );
}

// Goes on until every product of the first day exists: the storage nodes or the server may still be starting.
async function seed(products: ProductStore, { log, stopping }: ServiceContext): Promise<void> {
  while (!stopping.aborted) {
    try {
      for (const [id, draft] of Object.entries(SEED)) {
        if ((await products.find(id)) === undefined) await products.add(id, draft);
      }
      return;
    } catch (error) {
      log.warn('cannot load the products yet', { error: errorMessage(error) });
      await systemClock.sleep(SEED_PAUSE_MS, stopping).catch(() => undefined);
    }
  }
}
