/* SPDX-License-Identifier: MIT */
/* The calls that move data, straight from CPython: a shortcut beside _transfer.py, not a second truth.
 *
 * A call of the plain form that C answers at once (all bytes taken, some bytes there, nothing there on a
 * socket that does not block) ends here. Whatever else it meets (flags, keywords, an argument of another
 * type, a wait, an error) goes on in the method of the same name with an underscore in front, which is told
 * what C has answered. The GIL is released while the engine runs, as cffi does. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_direct.h"
#include "_tripped.h"

enum { ROOM = 16384 /* bytes recv() takes here; more of them go into a buffer of Python's */, WORDS = 8 };

/* ---- the long way ------------------------------------------------------------------------------ */

static PyObject *long_way(PyObject *self, const char *name, int64_t answer, PyObject *const *args,
                          Py_ssize_t n, PyObject *keywords)
{
    PyObject *words[WORDS], *result = NULL;
    Py_ssize_t all = n + (keywords ? PyTuple_GET_SIZE(keywords) : 0);
    if (all > WORDS - 2)
        return PyErr_Format(PyExc_TypeError, "%s() got too many arguments", name + 1);
    PyObject *method = PyUnicode_FromString(name), *said = PyLong_FromLongLong(answer);
    if (method && said) {
        words[0] = self;
        words[1] = said;
        memcpy(words + 2, args, (size_t)all * sizeof *args);
        result = PyObject_VectorcallMethod(method, words, (size_t)n + 2, keywords);
    }
    Py_XDECREF(method);
    Py_XDECREF(said);
    return result;
}

/* An answer that says "not now" to a socket that does not block: a program that polls gets it all the time,
 * and PyErr_SetFromErrno() would look the text up and decode it each time (0.2 us). */
static PyObject *would_block(PyObject *self)
{
    struct direct *d = (struct direct *)self;
    if (!d->again)
        d->again = Py_BuildValue("(iN)", EAGAIN, PyUnicode_DecodeLocale(strerror(EAGAIN), NULL));
    if (d->again)
        PyErr_SetObject(PyExc_BlockingIOError, d->again);
    return NULL;
}

static int plain(const struct direct *d, Py_ssize_t n, PyObject *keywords)
{
    return n == 1 && !keywords && d->sock;
}

/* ---- sending ----------------------------------------------------------------------------------- */

static PyObject *send_with(PyObject *self, const char *name, int all, PyObject *const *args, Py_ssize_t n,
                           PyObject *keywords)
{
    struct direct d = *(struct direct *)self; /* another thread may close the socket meanwhile */
    PyObject *result;
    Py_buffer view;
    int64_t sent;
    if (!plain(&d, n, keywords))
        return long_way(self, name, -BW_NOT_ASKED, args, n, keywords);
    if (PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE)) {
        PyErr_Clear();
        return long_way(self, name, -BW_NOT_ASKED, args, n, keywords);
    }
    PyThreadState *state = PyEval_SaveThread();
    sent = d.calls->send(d.host, d.sock, view.buf, (size_t)view.len, 0, d.spin);
    PyEval_RestoreThread(state);
    if (sent == view.len)
        result = all ? Py_NewRef(Py_None) : PyLong_FromSsize_t(view.len);
    else if (sent >= 0 && d.nonblocking && !all)
        result = PyLong_FromLongLong(sent);
    else
        result = long_way(self, name, sent, args, n, keywords); /* the buffer keeps its size meanwhile */
    PyBuffer_Release(&view);
    return result;
}

static PyObject *direct_send(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
    return send_with(self, "_send", 0, args, n, keywords);
}

static PyObject *direct_sendall(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
    return send_with(self, "_sendall", 1, args, n, keywords);
}

/* ---- receiving --------------------------------------------------------------------------------- */

static PyObject *direct_recv(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
    struct direct d = *(struct direct *)self;
    char room[ROOM];
    long size = 0;
    int64_t got = -BW_NOT_ASKED;
    if (plain(&d, n, keywords) && PyLong_CheckExact(args[0])) {
        int overflow;
        size = PyLong_AsLongAndOverflow(args[0], &overflow);
    }
    if (size > 0 && size <= ROOM) {
        PyThreadState *state = PyEval_SaveThread();
        got = d.calls->recv(d.host, d.sock, room, (size_t)size, 0, d.spin);
        PyEval_RestoreThread(state);
    }
    if (got >= 0)
        return PyBytes_FromStringAndSize(room, (Py_ssize_t)got);
    if (got == -EAGAIN && d.nonblocking)
        return would_block(self);
    return long_way(self, "_recv", got, args, n, keywords);
}

static PyObject *direct_recv_into(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
    struct direct d = *(struct direct *)self;
    PyObject *result;
    Py_buffer view;
    int64_t got;
    if (!plain(&d, n, keywords))
        return long_way(self, "_recv_into", -BW_NOT_ASKED, args, n, keywords);
    if (PyObject_GetBuffer(args[0], &view, PyBUF_WRITABLE)) {
        PyErr_Clear();
        return long_way(self, "_recv_into", -BW_NOT_ASKED, args, n, keywords);
    }
    if (!view.len) {
        PyBuffer_Release(&view);
        return PyLong_FromLong(0);
    }
    PyThreadState *state = PyEval_SaveThread();
    got = d.calls->recv(d.host, d.sock, view.buf, (size_t)view.len, 0, d.spin);
    PyEval_RestoreThread(state);
    if (got >= 0)
        result = PyLong_FromLongLong(got);
    else if (got == -EAGAIN && d.nonblocking)
        result = would_block(self);
    else
        result = long_way(self, "_recv_into", got, args, n, keywords);
    PyBuffer_Release(&view);
    return result;
}

/* ---- messages ---------------------------------------------------------------------------------- */

/* ("198.18.0.1", 80) of a sender, or None. */
static PyObject *sender_of(const struct bw_msg *m)
{
    char text[16];
    size_t n = 0;
    if (!m->named)
        return Py_NewRef(Py_None);
    for (int i = 12; i < 16; i++) {
        unsigned byte = m->name.ip[i];
        if (byte >= 100)
            text[n++] = (char)('0' + byte / 100);
        if (byte >= 10)
            text[n++] = (char)('0' + byte / 10 % 10);
        text[n++] = (char)('0' + byte % 10);
        text[n++] = '.';
    }
    return Py_BuildValue("(s#i)", text, (Py_ssize_t)n - 1, m->name.port);
}

static PyObject *direct_recvmsg(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
    struct direct d = *(struct direct *)self;
    char room[ROOM];
    long size = 0;
    int64_t got = -BW_NOT_ASKED;
    struct bw_iovec piece = {.base = room};
    struct bw_msg m = {.iov = &piece, .pieces = 1};
    if (plain(&d, n, keywords) && PyLong_CheckExact(args[0])) {
        int overflow;
        size = PyLong_AsLongAndOverflow(args[0], &overflow);
    }
    if (size > 0 && size <= ROOM) {
        piece.len = (size_t)size;
        PyThreadState *state = PyEval_SaveThread();
        got = d.calls->recvmsg(d.host, d.sock, &m, d.spin);
        PyEval_RestoreThread(state);
    }
    if (got == -EAGAIN && d.nonblocking)
        return would_block(self);
    if (got < 0)
        return long_way(self, "_recvmsg", got, args, n, keywords);
    PyObject *data = PyBytes_FromStringAndSize(room, (Py_ssize_t)got), *none = PyList_New(0);
    PyObject *told = PyLong_FromLong(m.told), *sender = sender_of(&m), *result = NULL;
    if (data && none && told && sender)
        result = PyTuple_Pack(4, data, none, told, sender);
    Py_XDECREF(data);
    Py_XDECREF(none);
    Py_XDECREF(told);
    Py_XDECREF(sender);
    return result;
}

/* The buffers of a list or tuple; how many, 0: not of the plain form. */
static uint32_t pieces_of(PyObject *buffers, Py_buffer *views, struct bw_iovec *pieces, int64_t *len)
{
    if (!PyList_CheckExact(buffers) && !PyTuple_CheckExact(buffers))
        return 0;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(buffers), i;
    if (count < 1 || count > WORDS)
        return 0;
    for (i = 0, *len = 0; i < count && i < PySequence_Fast_GET_SIZE(buffers); i++) {
        if (PyObject_GetBuffer(PySequence_Fast_GET_ITEM(buffers, i), &views[i], PyBUF_SIMPLE))
            break;
        pieces[i] = (struct bw_iovec){.base = views[i].buf, .len = (size_t)views[i].len};
        *len += views[i].len;
    }
    if (i == count)
        return (uint32_t)count;
    PyErr_Clear();
    while (i)
        PyBuffer_Release(&views[--i]);
    return 0;
}

static PyObject *direct_sendmsg(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords)
{
    struct direct d = *(struct direct *)self;
    PyObject *result;
    Py_buffer views[WORDS];
    struct bw_iovec pieces[WORDS];
    struct bw_msg m = {.iov = pieces};
    int64_t sent, len;
    if (plain(&d, n, keywords))
        m.pieces = pieces_of(args[0], views, pieces, &len);
    if (!m.pieces)
        return long_way(self, "_sendmsg", -BW_NOT_ASKED, args, n, keywords);
    PyThreadState *state = PyEval_SaveThread();
    sent = d.calls->sendmsg(d.host, d.sock, &m, d.spin);
    PyEval_RestoreThread(state);
    if (sent == len || (sent >= 0 && d.nonblocking))
        result = PyLong_FromLongLong(sent);
    else
        result = long_way(self, "_sendmsg", sent, args, n, keywords);
    for (uint32_t i = 0; i < m.pieces; i++)
        PyBuffer_Release(&views[i]);
    return result;
}

/* ---- the type ---------------------------------------------------------------------------------- */

static PyObject *direct_tie(PyObject *self, PyObject *args)
{
    struct direct *d = (struct direct *)self;
    unsigned long long calls = 0, host = 0, sock = 0;
    long long spin = 0;
    int nonblocking = 0;
    if (!PyArg_ParseTuple(args, "|KKKLp:_tie", &calls, &host, &sock, &spin, &nonblocking))
        return NULL;
    d->calls = (const struct host_direct *)(uintptr_t)calls;
    d->host = (struct host *)(uintptr_t)host;
    d->sock = (struct bw_sock *)(uintptr_t)sock;
    d->spin = spin;
    d->nonblocking = nonblocking;
    return Py_NewRef(Py_None);
}

static void direct_free(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_CLEAR(((struct direct *)self)->again);
    type->tp_free(self);
    Py_DECREF(type);
}

#define METHOD(name, flags, doc) \
    { \
#name, (PyCFunction)(void (*)(void))direct_##name, flags, doc \
    }
#define FAST METH_FASTCALL | METH_KEYWORDS

static int fill(PyObject *module)
{
    static const PyMethodDef methods[] = {
        METHOD(send, FAST,
               "send($self, data, flags=0, /)\n--\n\n"
               "Sends bytes and says how many were taken: all of them on a blocking socket."),
        METHOD(sendall, FAST,
               "sendall($self, data, flags=0, /)\n--\n\n"
               "Sends all of the bytes within the timeout; after an error nobody knows how many went."),
        METHOD(recv, FAST,
               "recv($self, bufsize, flags=0, /)\n--\n\n"
               "Up to bufsize bytes; b\"\" at the end of the stream."),
        METHOD(recv_into, FAST,
               "recv_into($self, buffer, nbytes=0, flags=0)\n--\n\n"
               "As recv, into a writable buffer (at most nbytes, 0: all of it); the number of bytes."),
        METHOD(recvmsg, FAST,
               "recvmsg($self, bufsize, ancbufsize=0, flags=0, /)\n--\n\n"
               "(data, [(level, type, data) of each control message], MSG_ flags, sender's address)."),
        METHOD(sendmsg, FAST,
               "sendmsg($self, buffers, ancdata=(), flags=0, address=None, /)\n--\n\n"
               "Sends the buffers as one message, with control messages (level, type, data); bytes sent."),
        {"_gather", (PyCFunction)(void (*)(void))select_gather, METH_FASTCALL | METH_CLASS,
         SELECT_GATHER_DOC},
        {"_scatter", (PyCFunction)(void (*)(void))select_scatter, METH_FASTCALL | METH_STATIC,
         SELECT_SCATTER_DOC},
        {"_tie", direct_tie, METH_VARARGS,
         "_tie($self, calls=0, host=0, sock=0, spin=0, nonblocking=False, /)\n--\n\n"
         "The addresses of C's calls, host and handle, ns to drive; nothing: closed."},
        {0},
    };
    PyType_Slot slots[] = {
        {Py_tp_methods, (void *)(uintptr_t)methods},
        {Py_tp_dealloc, direct_free},
        {Py_tp_doc, "What a socket calls most, without a step through Python."},
        {0},
    };
    PyType_Spec spec = {
        .name = "barewire._direct.Direct",
        .basicsize = sizeof(struct direct),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
        .slots = slots,
    };
    PyObject *type = PyType_FromSpec(&spec);
    if (!type)
        return -1;
    int rc = PyModule_AddObjectRef(module, "Direct", type);
    Py_DECREF(type);
    if (rc)
        return rc;
    PyObject *address = PyLong_FromVoidPtr((void *)(uintptr_t)signal_tripped);
    rc = PyModule_AddObjectRef(module, "SIGNAL_TRIPPED", address);
    Py_XDECREF(address);
    return rc;
}

PyMODINIT_FUNC PyInit__direct(void)
{
    static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "barewire._direct", .m_size = -1};
    PyObject *made = PyModule_Create(&module); /* CPython keeps the definition: the one global */
    if (made && fill(made)) {
        Py_DECREF(made);
        return NULL;
    }
    return made;
}
