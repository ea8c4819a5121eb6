//! Indonesian.

use super::{
    Frame, Limits, Plot, Reasons, Said, SignIn, SpanWords, Tenant, Texts, UnitWords, Wrong,
};
use crate::types::Language;

pub(super) static TEXTS: Texts = Texts {
    language: Language::Indonesian,
    name: "Bahasa Indonesia",
    months: ["Jan", "Feb", "Mar", "Apr", "Mei", "Jun", "Jul", "Agu", "Sep", "Okt", "Nov", "Des"],
    thousands: '.',
    clock: '.',
    spans: SpanWords { days: "hari", hours: "jam", minutes: "menit", seconds: "detik" },
    frame: Frame {
        skip: "Langsung ke isi",
        sections: "Bagian",
        language: "Bahasa",
        sign_out: "Keluar",
        signed_in_as: "Masuk sebagai",
        times_in_utc: "Semua waktu dalam UTC (WIB = UTC+7).",
        as_of: "Per",
        live_on: "Pembaruan langsung aktif.",
        live_off: "Pembaruan langsung nonaktif.",
        live_ended: "Pembaruan langsung telah berakhir. Muat ulang halaman ini.",
        live_start: "Aktifkan",
        live_stop: "Nonaktifkan",
    },
    sign_in: SignIn {
        title: "Masuk",
        token: "Token akses",
        hint: "Operator membuatnya dengan perintah “tollgate token create”. Pelanggan mendapatkannya dari penyedia layanan.",
        button: "Masuk",
        refused: "Token ini tidak berlaku. Mungkin salah ketik, kedaluwarsa, atau sudah dicabut.",
        later: "Terlalu banyak percobaan yang gagal. Tunggu satu menit, lalu coba lagi.",
        ended: "Sesi Anda telah berakhir. Silakan masuk lagi.",
        left: "Anda telah keluar.",
    },
    wrong: Wrong {
        home: "Kembali ke halaman utama",
        not_found: Said {
            title: "Halaman tidak ditemukan",
            text: "Alamatnya mungkin salah ketik, atau yang dituju sudah tidak ada.",
        },
        forbidden: Said {
            title: "Token Anda tidak mengizinkan ini",
            text: "Anda sudah masuk, tetapi token Anda tidak memberi izin untuk ini. Hubungi pihak yang memberikan token jika Anda memerlukan izin lebih.",
        },
        expired: Said {
            title: "Formulir sudah kedaluwarsa",
            text: "Tidak ada yang diubah. Kembali, muat ulang halaman, lalu coba lagi.",
        },
        failed: Said {
            title: "Halaman ini sedang tidak dapat ditampilkan",
            text: "Pengiriman email tidak bergantung pada halaman ini. Coba lagi sebentar lagi.",
        },
        unreadable: Said {
            title: "Permintaan tidak dapat dipahami",
            text: "Tidak ada yang diubah. Kembali dan periksa isian Anda.",
        },
        busy: Said { title: "Terlalu banyak permintaan", text: "Tunggu sebentar, lalu coba lagi." },
    },
    tenant: Tenant {
        plan: "Paket",
        active: "aktif",
        suspended: "ditangguhkan",
        sending_works: "Pengiriman berjalan normal.",
        tenant_suspended: "Pengiriman ditangguhkan untuk semua akun.",
        accounts_suspended: "Pengiriman ditangguhkan untuk akun berikut.",
        since: "Sejak",
        case: "Nomor kasus",
        reason: "Alasan",
        what_to_do: "Yang perlu Anda lakukan",
        what_to_do_suspended: [
            "Cari tahu apa yang mengirim email tersebut: ganti kata sandi akun, periksa skrip dan formulir yang mungkin disalahgunakan, dan pindai komputer yang menyimpan kata sandinya.",
            "Catat apa yang Anda temukan dan apa yang sudah Anda ubah.",
            "Hubungi penyedia layanan Anda dan sebutkan nomor kasusnya. Pengiriman berjalan lagi segera setelah penangguhan dicabut.",
        ],
        contact: "Kontak penyedia layanan",
        own_limits: "Batas untuk semua akun bersama-sama",
        no_limits: "Tidak ada batas yang ditetapkan di sini.",
        accounts: "Akun",
        no_accounts: Said {
            title: "Belum ada akun yang mengirim email",
            text: "Akun muncul di sini setelah mengirim email pertamanya.",
        },
        more_accounts: "Akun berikutnya",
        first_accounts: "Akun pertama",
        refusals: "Email yang ditolak",
        refusals_hint: "Penolakan terbaru dan cara mengatasinya.",
        refused_today: "Penerima yang ditolak dalam 24 jam terakhir",
        no_refusals: Said {
            title: "Tidak ada email yang ditolak",
            text: "Penolakan muncul di sini beserta alasannya.",
        },
        times: "kali, terakhir",
        answer: "Jawaban yang diterima program email Anda",
    },
    limits: Limits {
        next_slot: "Bisa mengirim lagi",
        now: "sekarang",
        never: "tidak ada dengan batas ini",
        when_lifted: "setelah penangguhan dicabut",
        of: "dari",
        within: "dalam",
        per: "dalam",
        open: "sedang dikirim",
        tenant: "semua akun",
        account: "akun",
        client: "alamat klien",
        peer: "server",
    },
    units: UnitWords {
        recipients: "penerima",
        messages: "pesan",
        null_sender: "email pantulan",
        new_accounts: "akun baru",
    },
    plot: Plot {
        last_day: "24 jam terakhir",
        last_month: "30 hari terakhir",
        recipients: "penerima",
        accepted: "diterima",
        deferred: "ditunda",
        refused: "ditolak",
        time: "waktu (UTC)",
        day: "hari",
        gap: "tidak tercatat",
        as_table: "Angka yang sama dalam tabel",
    },
    reasons: Reasons {
        limit: Said {
            title: "Batas pengiriman sudah terpakai habis",
            text: "Program dan server email akan mencoba lagi secara otomatis. Anda tidak perlu melakukan apa pun, kecuali jika memerlukan batas yang lebih tinggi.",
        },
        limit_never: Said {
            title: "Satu pesan dengan penerima lebih banyak daripada batas",
            text: "Kirim pesan itu dalam beberapa bagian yang lebih kecil.",
        },
        suspended: Said {
            title: "Pengiriman ditangguhkan",
            text: "Lihat status akun untuk nomor kasus dan langkah yang perlu dilakukan.",
        },
        sender_mismatch: Said {
            title: "Alamat pengirim bukan milik akun yang masuk",
            text: "Gunakan alamat akun Anda sebagai pengirim, atau minta penyedia layanan menambahkan alamat yang lain.",
        },
        not_allowed: Said {
            title: "Cara pengiriman ini tidak diizinkan",
            text: "Kirim dengan masuk ke akun Anda melalui SMTP.",
        },
        size: Said {
            title: "Pesan terlalu besar",
            text: "Kirim tautan ke berkas, bukan berkasnya.",
        },
        malformed: Said {
            title: "Format pesan tidak benar",
            text: "Program yang membuat pesan ini melanggar aturan email. Perbarui program itu atau hubungi pembuatnya.",
        },
        busy: Said {
            title: "Server sedang tidak dapat menerima email saat itu",
            text: "Program dan server email akan mencoba lagi secara otomatis. Beri tahu penyedia layanan Anda jika berlangsung lama.",
        },
        other: Said {
            title: "Ditolak",
            text: "Alasannya ada di dalam jawaban. Tanyakan kepada penyedia layanan Anda jika kurang jelas.",
        },
    },
};
