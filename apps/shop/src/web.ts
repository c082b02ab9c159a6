// The web service: the shop's pages, rendered here and working without scripts.

import { randomBytes } from 'node:crypto';
import { productList, product as productSchema } from './catalog/product.ts';
import { orderList, order as orderSchema } from './orders/order.ts';
import { call } from './shared/call.ts';
import { HttpProblem, type Routes, type ServiceRequest, type ServiceResponse } from './shared/http.ts';
import { runService } from './shared/run.ts';
import { type Cart, readCart, withQuantity, writeCart } from './web/cart.ts';
import type { Html } from './web/html.ts';
import {
  type CartLine,
  cartPage,
  type Frame,
  orderPage,
  ordersPage,
  page,
  problemPage,
  productPage,
  productsPage,
} from './web/pages.ts';
import { STYLE } from './web/style.ts';

const HEADERS = {
  'content-security-policy':
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'same-origin',
  'cache-control': 'no-store',
};
/** A placed order's page looks again until it is confirmed. */
const REFRESH_SECONDS = 2;

const routes: Routes = {
  'GET /': async (request) => {
    const { products } = productList.parse(await call('catalog', '/products', { trace: request.trace }));
    return show(request, 'Products', productsPage(products));
  },
  'GET /products/:id': async (request) => {
    const path = `/products/${encodeURIComponent(request.params.id ?? '')}`;
    const product = productSchema.parse(await call('catalog', path, { trace: request.trace }));
    return show(request, product.name, productPage(product));
  },
  'GET /cart': async (request) => show(request, 'Cart', cartPage(await cartLines(request), newOrderKey())),
  'POST /cart/add': async (request) => {
    const form = await readForm(request);
    const cart = cartOf(request);
    const id = form.get('productId') ?? '';
    return redirect('/cart', withQuantity(cart, id, (cart.get(id) ?? 0) + quantityIn(form)));
  },
  'POST /cart/set': async (request) => {
    const form = await readForm(request);
    return redirect('/cart', withQuantity(cartOf(request), form.get('productId') ?? '', quantityIn(form)));
  },
  'POST /orders': placeOrder,
  'GET /orders': async (request) => {
    const { orders } = orderList.parse(await call('orders', '/orders', { trace: request.trace }));
    return show(request, 'Orders', ordersPage(orders));
  },
  'GET /orders/:id': async (request) => {
    const path = `/orders/${encodeURIComponent(request.params.id ?? '')}`;
    const order = orderSchema.parse(await call('orders', path, { trace: request.trace }));
    const justPlaced = request.url.searchParams.has('placed') && order.status === 'placed';
    const refresh = order.status === 'placed' ? { refreshSeconds: REFRESH_SECONDS } : {};
    return show(request, `Order ${order.id}`, orderPage(order, justPlaced), refresh);
  },
  'GET /style.css': async () => ({
    status: 200,
    text: STYLE,
    type: 'text/css; charset=utf-8',
    headers: { 'cache-control': 'public, max-age=300', 'x-content-type-options': 'nosniff' },
  }),
};

// The form carries the order's key, so that a double click, a reload or a retry is still one order.
async function placeOrder(request: ServiceRequest): Promise<ServiceResponse> {
  const form = await readForm(request);
  const items = [...cartOf(request)].map(([productId, quantity]) => ({ productId, quantity }));
  const orderKey = form.get('orderKey') ?? '';
  if (!/^[0-9a-f]{32}$/.test(orderKey)) {
    throw new HttpProblem(400, 'INVALID_REQUEST', 'the order form is incomplete', 'go back to the cart');
  }
  if (items.length === 0) return redirect('/cart', new Map());
  try {
    const order = orderSchema.parse(
      await call('orders', '/orders', {
        method: 'POST',
        trace: request.trace,
        body: { items, customer: form.get('customer') ?? '' },
        headers: { 'idempotency-key': `web-${orderKey}` },
      }),
    );
    return redirect(`/orders/${order.id}?placed`, new Map());
  } catch (error) {
    if (!(error instanceof HttpProblem)) throw error;
    const message = [error.message, error.hint].filter(Boolean).join(' – ');
    // The same key again: the first try may have been stored although its answer was an error. A refused order needs
    // a new one, because the customer will change it.
    const key = error.status >= 500 ? orderKey : newOrderKey();
    const body = cartPage(await cartLines(request), key, message);
    return { ...show(request, 'Cart', body), status: error.status };
  }
}

async function cartLines(request: ServiceRequest): Promise<CartLine[]> {
  const cart = cartOf(request);
  if (cart.size === 0) return [];
  const ids = [...cart.keys()].join(',');
  const { products } = productList.parse(
    await call('catalog', `/products?ids=${ids}`, { trace: request.trace }),
  );
  return products.map((product) => ({ product, quantity: cart.get(product.id) ?? 0 }));
}

function show(
  request: ServiceRequest,
  title: string,
  body: Html,
  frame: Pick<Frame, 'refreshSeconds'> = {},
): ServiceResponse {
  const path = request.url.pathname;
  const text = page({ title, path, cart: cartOf(request), ...frame }, body);
  return { status: 200, text, type: 'text/html; charset=utf-8', headers: HEADERS };
}

function showProblem(problem: HttpProblem, request: ServiceRequest): ServiceResponse {
  const title =
    problem.status === 404 ? 'Not found' : problem.status < 500 ? 'That did not work' : 'Please try again';
  const body = problemPage(title, problem.message, problem.hint);
  return { ...show(request, title, body), status: problem.status };
}

function redirect(location: string, cart: Cart): ServiceResponse {
  return { status: 303, headers: { ...HEADERS, location, 'set-cookie': writeCart(cart) } };
}

function cartOf(request: ServiceRequest): Cart {
  return readCart(request.headers.cookie);
}

async function readForm(request: ServiceRequest): Promise<URLSearchParams> {
  const type = request.headers['content-type'] ?? '';
  if (!type.startsWith('application/x-www-form-urlencoded')) {
    throw new HttpProblem(
      415,
      'UNSUPPORTED_MEDIA_TYPE',
      'a form was expected',
      'use the buttons of the page',
    );
  }
  return new URLSearchParams(await request.text());
}

function quantityIn(form: URLSearchParams): number {
  const quantity = Number(form.get('quantity') ?? 1);
  if (Number.isInteger(quantity) && quantity >= 0 && quantity <= 1000) return quantity;
  throw new HttpProblem(400, 'INVALID_REQUEST', 'a quantity is a whole number from 0 to 1000');
}

function newOrderKey(): string {
  return randomBytes(16).toString('hex');
}

await runService('web', async () => ({ routes, problemPage: showProblem }));
